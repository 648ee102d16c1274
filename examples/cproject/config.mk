# What the build is configured with.
VERSION = 1.0
CFLAGS = -std=c11 -O2 -Wall -Wextra -Werror
LDLIBS = -lm
