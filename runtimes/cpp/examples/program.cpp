#include <algorithm>
#include <fstream>
#include <iostream>
#include <numeric>
#include <vector>

int main() {
    std::vector<long> numbers;
    for (long number; std::cin >> number;)
        numbers.push_back(number);
    std::sort(numbers.begin(), numbers.end());
    const long sum = std::accumulate(numbers.begin(), numbers.end(), 0L);
    for (std::size_t i = 0; i < numbers.size(); ++i)
        std::cout << (i ? " " : "") << numbers[i];
    std::cout << "\nsum " << sum << '\n';
    std::ofstream{"sum.txt"} << sum << '\n';
    return 3;
}
