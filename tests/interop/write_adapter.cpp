// Writes an adapter of ours, and the logits that the model gives with it: check_peft.py compares them with Python's peft.
//
// write_adapter BASE OUT: BASE is a Hugging Face folder; OUT gets adapter_config.json, adapter_model.safetensors and
// logits.safetensors (ids, logits).
#include <lolcats/lolcats.hpp>

#include <fmt/core.h>

using namespace lolcats;

int main(int argc, char** argv) {
  if (argc != 3) {
    fmt::print(stderr, "usage: write_adapter BASE OUT\n");
    return 2;
  }
  using Model = Llama<Cpu<float>, Softmax<>, Lora<8>>;
  auto model = load_llama<Model>(argv[1], 7);
  Rng rng(11);
  for (const auto& [name, parameter] : model.adapter_parameters()) {  // fresh adapters change nothing: B is zero
    parameter->own({});
    const View<float> values = parameter->mutable_value();
    for (float& x : values.span()) x = static_cast<float>(0.3 * rng.normal());
  }
  save_adapter(model, argv[2]);

  Tensor<std::int64_t> ids(Shape{2, 19});
  std::vector<Index> tokens;
  for (std::int64_t& id : ids.span()) {
    id = static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(model.config().vocab_size)));
    tokens.push_back(id);
  }
  const Sequences sequences = Sequences::rectangular(2, 19);
  Tape<Cpu<float>> tape;
  const Var<Cpu<float>> logits = model.logits(tape, tokens, sequences);
  const View<const float> rows(logits.value().data, Shape{2, 19, logits.cols()});
  write_safetensors(std::filesystem::path(argv[2]) / "logits.safetensors",
                    {{"ids", std::as_const(ids).view()}, {"logits", rows}});
}
