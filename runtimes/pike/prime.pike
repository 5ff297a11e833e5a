int main() {
  write("ready\n");
  return 0;
}
