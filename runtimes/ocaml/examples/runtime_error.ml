let () =
  print_endline "before";
  failwith "nobody catches this"
