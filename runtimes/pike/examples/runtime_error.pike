int main() {
  write("before\n");
  array(int) nothing = ({});
  write("%d\n", nothing[3]);
  return 0;
}
