template <int depth, unsigned long path> struct Tree {
    using left = typename Tree<depth - 1, path * 2>::type;
    using right = typename Tree<depth - 1, path * 2 + 1>::type;
    using type = left;
};

template <unsigned long path> struct Tree<0, path> {
    using type = int;
};

int main() { return sizeof(Tree<40, 1>::type); }
