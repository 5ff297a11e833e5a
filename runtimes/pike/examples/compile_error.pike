int main() {
  write("before\n");
  int number = (1 + ;
}
