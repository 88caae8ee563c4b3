// Hedgehog students for heads of 64 and 128.
#include "student_of.hpp"

namespace examples {

template std::unique_ptr<AnyModel> student_of<lolcats::zoo::Hedgehog64Linear>(const Teacher&, std::uint64_t, const std::filesystem::path&);
template std::unique_ptr<AnyModel> student_of<lolcats::zoo::Hedgehog64Terraced64>(const Teacher&, std::uint64_t, const std::filesystem::path&);
template std::unique_ptr<AnyModel> student_of<lolcats::zoo::Hedgehog64Sliding64>(const Teacher&, std::uint64_t, const std::filesystem::path&);

}  // namespace examples
