// Sorts the integers of standard input, prints them and their sum, and leaves the sum in a file.
int main() {
  array(string) words = (replace(Stdio.stdin->read(), ({ "\n", "\r", "\t" }), " ") / " ") - ({ "" });
  array(int) numbers = sort((array(int)) words);
  int sum = `+(0, @numbers);
  write("%s\nsum %d\n", ((array(string)) numbers) * " ", sum);
  Stdio.write_file("sum.txt", sum + "\n");
  return 3;
}
