#include "vmctl/uart.h"

#include <linux/serial_reg.h>

void uart_init(struct uart *uart, struct conlog *log,
	       void (*set_line)(void *opaque, bool high), void *opaque)
{
	*uart = (struct uart){.log = log, .set_line = set_line, .opaque = opaque};
}

/* The only interrupt there is: the transmitter is empty. */
static void update_line(struct uart *uart)
{
	bool high = uart->thr_empty && uart->ier & UART_IER_THRI;

	if (high != uart->line_high)
		uart->set_line(uart->opaque, high);
	uart->line_high = high;
}

void uart_wake(struct uart *uart)
{
	uart->set_line(uart->opaque, uart->line_high);
}

/* Reading the identification acknowledges the interrupt that it names. */
static uint8_t read_iir(struct uart *uart)
{
	uint8_t fifo = uart->fcr & UART_FCR_ENABLE_FIFO ? 0xc0 : 0;

	if (!uart->line_high)
		return fifo | UART_IIR_NO_INT;
	uart->thr_empty = false;
	update_line(uart);
	return fifo | UART_IIR_THRI;
}

/* In loopback the modem's inputs are our own outputs. */
static uint8_t read_msr(const struct uart *uart)
{
	uint8_t msr = 0;

	if (!(uart->mcr & UART_MCR_LOOP))
		return UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS;
	if (uart->mcr & UART_MCR_RTS)
		msr |= UART_MSR_CTS;
	if (uart->mcr & UART_MCR_DTR)
		msr |= UART_MSR_DSR;
	if (uart->mcr & UART_MCR_OUT1)
		msr |= UART_MSR_RI;
	if (uart->mcr & UART_MCR_OUT2)
		msr |= UART_MSR_DCD;
	return msr;
}

uint8_t uart_read(struct uart *uart, unsigned reg)
{
	bool dlab = uart->lcr & UART_LCR_DLAB;

	switch (reg) {
	case UART_RX:
		return dlab ? uart->divisor[0] : 0;
	case UART_IER:
		return dlab ? uart->divisor[1] : uart->ier;
	case UART_IIR:
		return read_iir(uart);
	case UART_LCR:
		return uart->lcr;
	case UART_MCR:
		return uart->mcr;
	case UART_LSR:
		return UART_LSR_TEMT | UART_LSR_THRE;
	case UART_MSR:
		return read_msr(uart);
	case UART_SCR:
		return uart->scr;
	default:
		return 0xff;
	}
}

static void write_data(struct uart *uart, uint8_t value)
{
	if (uart->mcr & UART_MCR_LOOP)
		return;
	conlog_write(uart->log, &value, 1);
	uart->thr_empty = true;
	update_line(uart);
}

static void write_ier(struct uart *uart, uint8_t value)
{
	if (value & ~uart->ier & UART_IER_THRI)
		uart->thr_empty = true;
	uart->ier = value & 0x0f;
	update_line(uart);
}

void uart_write(struct uart *uart, unsigned reg, uint8_t value)
{
	bool dlab = uart->lcr & UART_LCR_DLAB;

	switch (reg) {
	case UART_TX:
		if (dlab)
			uart->divisor[0] = value;
		else
			write_data(uart, value);
		break;
	case UART_IER:
		if (dlab)
			uart->divisor[1] = value;
		else
			write_ier(uart, value);
		break;
	case UART_FCR:
		uart->fcr = value;
		break;
	case UART_LCR:
		uart->lcr = value;
		break;
	case UART_MCR:
		uart->mcr = value & 0x1f;
		break;
	case UART_SCR:
		uart->scr = value;
		break;
	}
}
