// Attention transfer in blocks of k layers instead of all at once (Tables 3, 17 and 18, section 3.4).
//
// The paper, Llama 3.1 405B: 4.23 of perplexity jointly, 3.21 in blocks of 9 layers; errors grow from 0.03 (layers 0 to
// 8) to 48.66 (the last ones).  Keeping the states that enter the blocks takes 2 T d L/k bytes for T tokens of width d in
// bf16.  Look for: at small depth block-wise equals joint, the last layers have the largest errors, and a small k trains
// fewer parameters at once for more disk.  The first block reads tokens, so we write (L/k - 1) T d numbers, no more than
// two blocks' at a time.
#include "support/study.hpp"

using namespace examples;

template <Index K>
using In = Variant<Hybrid<Hedgehog<rank>, Terraced<64>>, Lora<8>, Blocks<K>>;

/// The sizes of the files that hold the states between blocks, seen while they are there.
class DiskUse {
 public:
  explicit DiskUse(std::filesystem::path folder) : folder_(std::move(folder)) { create_folder(folder_); }
  ~DiskUse() { std::filesystem::remove_all(folder_); }

  void look() {
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) bytes_[entry.path().string()] = entry.file_size();
  }
  /// Of all files seen since the last call.
  double take() {
    double sum = 0;
    for (const auto& [file, size] : std::exchange(bytes_, {})) sum += static_cast<double>(size);
    return sum;
  }
  std::filesystem::path files() const { return folder_ / "states"; }

 private:
  std::filesystem::path folder_;
  std::map<std::string, std::uintmax_t> bytes_;
};

template <Index... K>
void compare(Study& study) {
  DiskUse disk(study.out / "states");
  study.procedure.transfer.residuals = disk.files();
  AblationOptions options = study.options();
  options.progress = [&, print = options.progress](const Progress& p) {
    disk.look();
    print(p);
  };
  const Index tokens = study.train.tokens() + study.valid.tokens();
  const Index layers = study.teacher.layer_count(), width = study.teacher.config().hidden_size;
  const auto measure = [&](Stage stage, auto& model, AblationRow& row) {
    if (stage != Stage::transferred) return;
    row.set("parameters", count_numbers(model.transfer_parameters()));
    row.set("disk_bytes", disk.take());
  };
  Ablation all = ablate<In<K>...>(study.teacher, study.train, study.valid, study.procedure, options, measure);
  const auto add_costs = [&]<Index k>(std::integral_constant<Index, k>) {
    for (AblationRow& row : all.rows) {
      if (row.variant != In<k>::name() || !row.done()) continue;
      const Index blocks = k == 0 ? 1 : (layers + k - 1) / k;
      row.set("blocks", static_cast<double>(blocks));
      row.set("at_once", row.number("parameters") * static_cast<double>(k == 0 ? layers : std::min(k, layers)) / static_cast<double>(layers));
      row.set("paper_bytes", blocks == 1 ? 0 : 2.0 * static_cast<double>(tokens * width * blocks));
      row.set("our_bytes", static_cast<double>(tokens * width * (blocks - 1)) * sizeof(Scalar<Device>));
    }
  };
  (add_costs(std::integral_constant<Index, K>{}), ...);
  study.report(all, {{"blocks", "blocks", Best::none, 1}, {"transfer_mse", "MSE"}, {"perplexity_transferred", "transferred"},
                     {"perplexity", "finetuned"}, {"transfer_seconds", "seconds of transfer", Best::none, 3},
                     {"at_once", "parameters at once", Best::none}, {"paper_bytes", "2 T d L/k bytes", Best::none},
                     {"our_bytes", "(L/k - 1) T d numbers, bytes", Best::none}, {"disk_bytes", "bytes measured", Best::none}});

  study.judge(all, [&](const Ablation& part) {
    const double joint = part.mean<In<0>>("perplexity"), single = part.mean<In<1>>("perplexity");
    study.claim("layer by layer equals joint transfer within 3% of perplexity", std::abs(single / joint - 1) < 0.03, against(single, joint), false);
    const double measured = part.mean<In<1>>("disk_bytes"), computed = part.mean<In<1>>("our_bytes");
    study.claim("the states on disk take the bytes computed", measured == computed, against(measured, computed));
    const Ablation::Band errors = part.band<In<1>>("mse_per_layer");
    if (!errors.y.empty()) {
      study.claim_above("the last layer has a larger error than the first", errors.y.back(), errors.y.front(), false);
    }
  });
  LinePlot plot{.title = "Error of attention by layer", .x_label = "layer", .y_label = "mean squared error after transfer", .log_y = true};
  (plot.curves.push_back(curve_of(Blocks<K>::name(), all.band<In<K>>("mse_per_layer"))), ...);
  study.draw(plot);
}

int main(int argc, char** argv) {
  return run_study({.name = "blockwise", .summary = "Tables 3, 17, 18: attention transfer jointly or in blocks of k layers."}, argc, argv,
                   compare<0, 2, 1>);
}
