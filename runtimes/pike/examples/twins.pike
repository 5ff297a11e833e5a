// One line for each source of chance.
int main() {
  write("%d %d\n", random(1 << 31), random(1 << 31));
  write("%s\n", String.string2hex(random_string(16)));
  write("%s\n", String.string2hex(Stdio.File("/dev/urandom")->read(16)));
  return 0;
}
