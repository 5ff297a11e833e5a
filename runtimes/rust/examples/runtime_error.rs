fn main() {
    println!("before");
    let words: Vec<String> = std::env::args().skip(1).collect();
    println!("{}", words[3]);
}
