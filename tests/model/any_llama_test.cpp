// A Llama behind virtual functions: the same numbers, to the last bit.
#include "models_run.hpp"

#include <lolcats/model/any_llama.hpp>

#include <doctest/doctest.h>

using namespace models;

namespace {

using B = Cpu<double>;

/// The loss, and all gradients.
template <class Model>
std::vector<double> step(Model& model, const Parameters<B>& trained, bool recompute) {
  for (const auto& [name, parameter] : trained) B{}.zero(parameter->gradient().data, parameter->size());
  std::vector<double> numbers{backward_of(model, tiny_batch(), 0.1, recompute)};
  for (const auto& [name, parameter] : trained) {
    const auto gradient = parameter->gradient().span();
    numbers.insert(numbers.end(), gradient.begin(), gradient.end());
  }
  return numbers;
}

}  // namespace

TEST_CASE("any llama: losses, gradients and decoded logits are the model's") {
  Terraces model = vivid<Terraces>(tiny_config());
  AnyLlamaOf<Terraces> of(model);
  AnyLlama<B>& any = of;
  const std::vector<Index> tokens{3, 1, 4, 1, 5, 9, 2, 6, 5};
  CHECK_THROWS_WITH_AS(decoded_logits_of(any, tokens, 5), doctest::Contains("was made without decoding"), Error);
  of.set_attend_step();
  CHECK(decoded_logits_of(any, tokens, 5) == decoded_logits_of(model, tokens, 5));

  Parameters<B> trained = model.transfer_parameters();
  for (const auto& entry : model.adapter_parameters()) trained.push_back(entry);
  for (const auto& [name, parameter] : trained) parameter->train(B{});
  for (const bool recompute : {false, true}) CHECK(step(any, trained, recompute) == step(model, trained, recompute));
  CHECK(any.name() == Terraces::name());
  CHECK(any.attention_of_layer().empty());
}
