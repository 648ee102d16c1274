#include "sieve.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print(size_t prime, void *arg)
{
	(void)arg;
	printf("%zu\n", prime);
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "--version") == 0) {
		puts("primes " VERSION);
		return 0;
	}
	char *end;
	if (argc != 2 || (strtoul(argv[1], &end, 10), *argv[1] == '\0' || *end != '\0')) {
		fprintf(stderr, "usage: primes MAX\n");
		return 2;
	}
	return sieve(strtoul(argv[1], NULL, 10), print, NULL) < 0;
}
