let () =
  Random.self_init ();
  Printf.printf "Random %d %d\n" (Random.bits ()) (Random.bits ());
  let device = open_in_bin "/dev/urandom" in
  let bytes = really_input_string device 8 in
  print_string "/dev/urandom ";
  String.iter (fun byte -> Printf.printf "%02x" (Char.code byte)) bytes;
  print_newline ()
