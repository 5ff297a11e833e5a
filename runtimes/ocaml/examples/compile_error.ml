let answer : int = "forty-two"
let () = print_int answer
