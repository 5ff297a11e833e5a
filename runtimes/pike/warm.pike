// Uses what programs use most, so that a template's page cache holds the interpreter and its modules.
int main() {
  mapping(string:int) found = ([ "a": 1 ]);
  write("%O %s %s\n", found, upper_case("warm"), Calendar.Day("unix", 0)->format_ymd());
  write("%s\n", String.string2hex(random_string(4)));
  catch { error("warm\n"); };
  return 0;
}
