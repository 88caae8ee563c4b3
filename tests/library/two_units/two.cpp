// The second of two units that include every header: a function that is not inline would be defined twice.
#include "all_headers.hpp"

int answer_of_two() { return 42; }
