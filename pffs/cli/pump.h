/*
 * Copies what goes by a connection to another one, both ways, in threads of its own. Either
 * direction ends by itself; when one of the two is closed, so is the other.
 */
#pragma once

/** pump_begin() - @one and @other, stream sockets that block, are taken over.
 * Return: 0 or -errno: they are the caller's then. */
int pump_begin(int one, int other);
