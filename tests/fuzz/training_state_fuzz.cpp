// Fuzzes the reader of training states: a safetensors file as header, zero byte, data.  What is accepted is written and
// read again.
#include <lolcats/train/cpu.hpp>
#include <lolcats/train/resume.hpp>
#include <lolcats/train/schedule.hpp>

#include "scratch.hpp"

namespace {

using namespace lolcats;

/// A run of one parameter with two numbers.
struct Run {
  Parameter<Cpu<float>> weight{Array<Cpu<float>>(Shape{2})};
  AdamW<Cpu<float>> optimizer;
  EarlyStopping<Cpu<float>> stopping;
  ReduceOnPlateau::State schedule{{}, 0.1, 9};
  std::vector<TrainingPoint> history;

  Run() : optimizer(make()), stopping(Cpu<float>{}, {{"w", &weight}}) {}
  Run(const Run&) = delete;

  void load(const std::filesystem::path& path) {
    load_training_state(path, {{"stage", "fuzz"}}, Cpu<float>{}, optimizer, schedule, stopping, history);
    if (static_cast<Index>(history.size()) != optimizer.steps()) std::abort();
  }
  void save(const std::filesystem::path& path) const {
    save_training_state(path, {{"stage", "fuzz"}}, Cpu<float>{}, optimizer, schedule, stopping, history);
  }

 private:
  AdamW<Cpu<float>> make() {
    weight.train(Cpu<float>{});
    return AdamW<Cpu<float>>(Cpu<float>{}, {{"w", &weight}}, {});
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::filesystem::path folder = fuzz::scratch_folder();
  fuzz::write(folder / "state", fuzz::safetensors_of(std::string_view(reinterpret_cast<const char*>(data), size)));
  Run run;
  try {
    run.load(folder / "state");
  } catch (const Error&) {
    return 0;  // refusing is what bad bytes deserve; any other exception is a finding
  }
  run.save(folder / "again");
  Run again;
  again.load(folder / "again");
  if (again.schedule.save() != run.schedule.save()) std::abort();
  return 0;
}
