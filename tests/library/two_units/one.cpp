// The first of two units that include every header; see two.cpp.
#include "all_headers.hpp"
#include "snippets.hpp"

int answer_of_two();

int main() { return answer_of_two() == 42 ? 0 : 1; }
