// The test kit's headers register with doctest, which is implemented in one unit of a program.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>
