#include <iostream>
#include <vector>

int main() {
    std::cout << "before" << std::endl;
    std::vector<int> empty;
    return empty.at(3);
}
