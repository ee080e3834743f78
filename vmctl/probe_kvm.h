/*
 * The measurement behind `vmctl probe`: a tiny guest without an operating system.
 */
#pragma once

#include "vmctl/probe.h"

/**
 * probe_kvm() - open /dev/kvm, time a guest, fill the fields of @probe from @node
 * to @measured. Neither a guest that never ends nor a call that never returns can
 * hold up the caller: the work is done by a child with a deadline.
 */
void probe_kvm(struct probe *probe);
