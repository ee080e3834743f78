/*
 * The agent's log: lines on stderr, which is the VM's log console.
 */
#pragma once

/** log_say() - write one line; bytes that the console does not take are lost. */
__attribute__((format(printf, 1, 2))) void log_say(const char *fmt, ...);

/**
 * log_fatal() - say why the guest cannot go on, and reset it.
 * A test's agent, which is not PID 1, exits instead.
 */
__attribute__((format(printf, 1, 2), noreturn)) void log_fatal(const char *fmt, ...);
