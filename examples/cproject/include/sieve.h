#ifndef SIEVE_H
#define SIEVE_H

#include <stddef.h>

/* Calls found with each prime up to max, in order. Returns how many there are, or -1
   if there is not enough memory. */
long sieve(size_t max, void (*found)(size_t prime, void *arg), void *arg);

#endif
