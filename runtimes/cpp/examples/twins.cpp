#include <chrono>
#include <cstdlib>
#include <iostream>
#include <random>

int main() {
    std::random_device device;
    std::cout << "random_device " << device() << ' ' << device() << '\n';
    std::mt19937_64 seeded{device()};
    std::cout << "mt19937_64 " << seeded() << '\n';
    const auto now = std::chrono::system_clock::now().time_since_epoch().count();
    std::mt19937_64 timed(static_cast<unsigned long>(now));
    std::cout << "mt19937_64 by the clock " << timed() << '\n';
}
