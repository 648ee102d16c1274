#include "sieve.h"

#include <stdio.h>

int main(void)
{
	static const struct { size_t max; long primes; } cases[] = {
		{0, 0}, {1, 0}, {2, 1}, {10, 4}, {100, 25}, {1000000, 78498},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		long n = sieve(cases[i].max, NULL, NULL);
		if (n != cases[i].primes) {
			fprintf(stderr, "up to %zu there are %ld primes, not %ld\n", cases[i].max, cases[i].primes, n);
			return 1;
		}
	}
	return 0;
}
