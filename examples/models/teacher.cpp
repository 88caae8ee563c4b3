// The teacher, and students by name.
#include "any_model_of.hpp"

#include <lolcats/model/finite_weights.hpp>
#include <lolcats/train/maps_in_use.hpp>
#include <lolcats/train/sharded_base.hpp>

namespace examples {

namespace {

std::unique_ptr<AnyModel> student(const std::string& name, const AnyModel& teacher, std::uint64_t seed,
                                  const std::filesystem::path& checkpoint) {
  std::unique_ptr<AnyModel> made;
  lolcats::visit_student(name, [&](auto entry) {
    made = student_of<decltype(entry)>(dynamic_cast<const AnyModelOf<Teacher>&>(teacher).model(), seed, checkpoint);
  });
  return made;
}

}  // namespace

std::unique_ptr<AnyModel> load_teacher(const std::filesystem::path& path, lolcats::Communicator* sharding) {
  if (sharding) {
    lolcats::StoredWeights<lolcats::Scalar<Device>> weights(lolcats::open_checkpoint(path));
    auto outline = lolcats::without_weights<Teacher>(weights.config());
    lolcats::shard_base(outline, std::ref(weights), *sharding, path.string());
    weights.require_all_read();
    return std::make_unique<AnyModelOf<Teacher>>(std::move(outline));
  }
  auto model = std::make_unique<AnyModelOf<Teacher>>(lolcats::load_llama<Device>(path));
  lolcats::require_finite_weights(model->model(), path.string());
  return model;
}

std::unique_ptr<AnyModel> outline_of(const std::filesystem::path& path) {
  return std::make_unique<AnyModelOf<Teacher>>(lolcats::without_weights<Teacher>(lolcats::open_checkpoint(path).config));
}

std::string fingerprint_of_base(const std::filesystem::path& path) {
  lolcats::StoredWeights<lolcats::Scalar<Device>> weights(lolcats::open_checkpoint(path));
  const std::string fingerprint = lolcats::fingerprint_of_weights(lolcats::without_weights<Teacher>(weights.config()), std::ref(weights), path.string());
  weights.require_all_read();
  return fingerprint;
}

std::unique_ptr<AnyModel> make_student(const std::string& name, const AnyModel& teacher, std::uint64_t seed) {
  return student(name, teacher, seed, {});
}

void require_maps_in_use(const std::string& name, Index longest) {
  lolcats::visit_student(name, [&](auto entry) {
    lolcats::require_maps_in_use<typename decltype(entry)::template Model<Device>::Attention>(longest);
  });
}

std::unique_ptr<AnyModel> load_student(const std::string& name, const AnyModel& teacher, const std::filesystem::path& checkpoint) {
  return student(name, teacher, 0, checkpoint);
}

std::string device_name() { return std::string(Device::name()); }

std::unique_ptr<lolcats::Communicator> make_communicator() {
  using lolcats::ConfigError;
  const auto place = lolcats::place_from_environment();
#ifdef __CUDACC__
#ifdef LOLCATS_WITH_NCCL
  if (place) return std::make_unique<lolcats::Nccl>(*place);
#else
  lolcats::require<ConfigError>(!place, "LOLCATS_RANKS is set, but this program was built without NCCL");
#endif
#else
  lolcats::require<ConfigError>(!place, "LOLCATS_RANKS is set, but this program computes on the CPU; expected to be started by mpiexec");
#ifdef LOLCATS_WITH_MPI
  if (lolcats::started_by_mpiexec()) return std::make_unique<lolcats::Mpi>();
#else
  lolcats::require<ConfigError>(!lolcats::started_by_mpiexec(), "started by mpiexec, but this program was built without MPI");
#endif
#endif
  return std::make_unique<lolcats::Alone>();
}

}  // namespace examples
