/*
 * A 16550 serial port that only speaks: what the guest sends goes to the log,
 * and nothing ever arrives. It is always ready to send.
 */
#pragma once

#include "vmctl/conlog.h"

#include <stdbool.h>
#include <stdint.h>

#define UART_PORTS 8

struct uart {
	struct conlog *log;
	void (*set_line)(void *opaque, bool high); /* the interrupt line */
	void *opaque;
	uint8_t ier, lcr, mcr, scr, fcr;
	uint8_t divisor[2];
	bool thr_empty; /* "transmitter empty" is to be reported by interrupt */
	bool line_high;
};

/** uart_init() - a port in its state after power on. */
void uart_init(struct uart *uart, struct conlog *log,
	       void (*set_line)(void *opaque, bool high), void *opaque);

/** uart_wake() - in a process that has just been forked: set the line again. */
void uart_wake(struct uart *uart);

/** uart_read() - the guest reads register @reg (0 to 7). */
uint8_t uart_read(struct uart *uart, unsigned reg);

/** uart_write() - the guest writes register @reg (0 to 7). */
void uart_write(struct uart *uart, unsigned reg, uint8_t value);
