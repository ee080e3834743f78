"""pffs for agent frameworks. Each module is imported by itself, and its SDK only there."""
