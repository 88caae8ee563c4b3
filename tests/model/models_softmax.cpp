// The softmax models, compiled once for all tests of this folder.
#include "any_adapter.hpp"
#include "models_run.hpp"

LOLCATS_INSTANTIATE_MODEL(models::Teacher<double>);
LOLCATS_INSTANTIATE_MODEL(models::Control<float>);
LOLCATS_INSTANTIATE_MODEL(models::Control<double>);
LOLCATS_INSTANTIATE_MODEL(models::Dropping);
template std::vector<double> models::logits_of(models::Teacher<float>&, const std::vector<lolcats::Index>&,
                                               const lolcats::Sequences&);
template std::vector<double> models::logits_of(models::Beside<double>&, const std::vector<lolcats::Index>&,
                                               const lolcats::Sequences&);
template std::vector<double> models::logits_of(models::Beside<float>&, const std::vector<lolcats::Index>&,
                                               const lolcats::Sequences&);
