#include "sieve.h"

#include <math.h>
#include <stdlib.h>

long sieve(size_t max, void (*found)(size_t prime, void *arg), void *arg)
{
	if (max < 2)
		return 0;
	unsigned char *composite = calloc(max + 1, 1);
	if (composite == NULL)
		return -1;
	size_t root = (size_t)sqrt((double)max);
	long n = 0;
	for (size_t i = 2; i <= max; i++) {
		if (composite[i])
			continue;
		n++;
		if (found != NULL)
			found(i, arg);
		if (i <= root)
			for (size_t j = i * i; j <= max; j += i)
				composite[j] = 1;
	}
	free(composite);
	return n;
}
