// The instantiations that students.hpp keeps from the programs.
#define LOLCATS_STUDENTS template
#include "students.hpp"
