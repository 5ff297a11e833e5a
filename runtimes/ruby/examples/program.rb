# Sorts the integers of standard input, prints them and their sum, and leaves the sum in a file.
numbers = $stdin.read.split.map { |word| Integer(word, 10) }.sort
puts numbers.join(' '), "sum #{numbers.sum}"
File.write('sum.txt', "#{numbers.sum}\n")
exit 3
