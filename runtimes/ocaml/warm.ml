let rec read numbers =
  match Scanf.scanf " %d" (fun number -> number) with
  | number -> read (number :: numbers)
  | exception (End_of_file | Scanf.Scan_failure _) -> numbers

let () =
  let numbers = List.sort compare (read []) in
  let sum = List.fold_left ( + ) 0 numbers in
  Printf.printf "%s\nsum %d\n" (String.concat " " (List.map string_of_int numbers)) sum;
  let file = open_out "/dev/null" in
  Printf.fprintf file "%d\n" sum;
  close_out file;
  exit 0
