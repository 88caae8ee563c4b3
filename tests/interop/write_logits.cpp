// Reads a checkpoint of transformers, and an adapter of Python's peft, and writes the logits: check_qwen.py compares them.
//
// write_logits BASE IDS OUT [ADAPTER]: BASE is a Hugging Face folder, IDS a safetensors file with ids (N, T).  OUT gets
// logits.safetensors with "logits" (N, T, V) and, with an adapter, "merged" (into the base, at run time) and, where its
// kind is Lora<8>, "unmerged"; and in the folder "again" the base model as we write it.
#include <lolcats/lolcats.hpp>

#include <fmt/core.h>

using namespace lolcats;

namespace {

using B = Cpu<float>;

template <class Model>
Tensor<float> logits_of(Model& model, const std::vector<Index>& tokens, Index rows, Index length) {
  Tape<B> tape;
  const Sequences sequences = Sequences::rectangular(rows, length);
  const typename Tape<B>::NoGradient quiet(tape);
  const Var<B> logits = model.logits(tape, tokens, sequences);
  Tensor<float> copy(Shape{rows, length, logits.cols()});
  tape.backend().copy(logits.value().data, copy.data(), copy.size());
  return copy;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4 && argc != 5) {
    fmt::print(stderr, "usage: write_logits BASE IDS OUT [ADAPTER]\n");
    return 2;
  }
  try {
    const std::filesystem::path out = argv[3];
    const auto ids = Safetensors(argv[2]).read<std::int64_t>("ids");
    const std::vector<Index> tokens(ids.span().begin(), ids.span().end());
    const Index rows = ids.shape()[0], length = ids.shape()[1];
    auto base = load_llama<B>(std::filesystem::path(argv[1]));
    std::vector<std::pair<std::string, Tensor<float>>> results;
    results.emplace_back("logits", logits_of(base, tokens, rows, length));
    save_llama(base, out / "again");
    if (argc == 5) {
      const PeftAdapter adapter = read_peft(argv[4]);
      auto merged = base;
      merge_adapter(merged, adapter);
      results.emplace_back("merged", logits_of(merged, tokens, rows, length));
      if (adapter.rank == 8 && adapter.alpha == 16 && adapter.targets.size() == 4 && !adapter.rslora) {
        auto tuned = convert<Llama<B, Softmax<>, Lora<8>>>(base);
        load_adapter(tuned, std::filesystem::path(argv[4]));
        results.emplace_back("unmerged", logits_of(tuned, tokens, rows, length));
      }
    }
    std::vector<NamedTensor> named;
    for (const auto& [name, tensor] : results) named.emplace_back(name, std::as_const(tensor).view());
    write_safetensors(out / "logits.safetensors", named);
  } catch (const std::exception& error) {
    fmt::print(stderr, "write_logits: {}\n", error.what());
    return 1;
  }
}
