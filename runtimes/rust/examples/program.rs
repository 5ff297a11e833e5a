use std::io::{self, Read};
use std::{fs, process};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    let mut numbers = text.split_whitespace().map(str::parse).collect::<Result<Vec<i64>, _>>()?;
    numbers.sort_unstable();
    let sum: i64 = numbers.iter().sum();
    let words: Vec<String> = numbers.iter().map(i64::to_string).collect();
    println!("{}\nsum {}", words.join(" "), sum);
    fs::write("sum.txt", format!("{}\n", sum))?;
    process::exit(3)
}
