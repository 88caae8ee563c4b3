// Students with caches.
#include "student_of.hpp"

namespace examples {

template std::unique_ptr<AnyModel> student_of<lolcats::zoo::Sinks4Sliding124Kept384>(const Teacher&, std::uint64_t, const std::filesystem::path&);
template std::unique_ptr<AnyModel> student_of<lolcats::zoo::Sinks4Sliding124Kept1920>(const Teacher&, std::uint64_t, const std::filesystem::path&);
template std::unique_ptr<AnyModel> student_of<lolcats::zoo::Sinks4Sliding92Kept1920>(const Teacher&, std::uint64_t, const std::filesystem::path&);
template std::unique_ptr<AnyModel> student_of<lolcats::zoo::Sinks4Sliding44Kept1920>(const Teacher&, std::uint64_t, const std::filesystem::path&);

}  // namespace examples
