#include <iostream>
#include <string>

int main() {
    std::string answer = 42;
    std::cout << answer.no_such_member() << '\n';
}
