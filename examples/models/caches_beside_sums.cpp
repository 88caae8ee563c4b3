// Students with a cache beside the sums over far keys.
#include "student_of.hpp"

namespace examples {

template std::unique_ptr<AnyModel> student_of<lolcats::zoo::Hedgehog8Terraced64Kept128>(const Teacher&, std::uint64_t, const std::filesystem::path&);
template std::unique_ptr<AnyModel> student_of<lolcats::zoo::Hedgehog64Terraced64Kept512>(const Teacher&, std::uint64_t, const std::filesystem::path&);

}  // namespace examples
