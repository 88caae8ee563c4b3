// The hybrid models, compiled once for all tests of this folder.
#include "models_run.hpp"

LOLCATS_INSTANTIATE_MODEL(models::Terraces);
LOLCATS_INSTANTIATE_MODEL(models::Grouped);
