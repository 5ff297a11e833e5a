with Ada.Command_Line;
with Ada.Containers.Vectors;
with Ada.Long_Long_Integer_Text_IO;
with Ada.Text_IO;

procedure Program is
   package Lists is new Ada.Containers.Vectors (Positive, Long_Long_Integer);
   package Sorting is new Lists.Generic_Sorting;

   Numbers : Lists.Vector;
   Number  : Long_Long_Integer;
   Sum     : Long_Long_Integer := 0;
   First   : Boolean           := True;
   File    : Ada.Text_IO.File_Type;
begin
   begin
      loop
         Ada.Long_Long_Integer_Text_IO.Get (Number);
         Numbers.Append (Number);
         Sum := Sum + Number;
      end loop;
   exception
      when Ada.Text_IO.End_Error =>
         null;
   end;
   Sorting.Sort (Numbers);
   for Value of Numbers loop
      if not First then
         Ada.Text_IO.Put (' ');
      end if;
      First := False;
      Ada.Long_Long_Integer_Text_IO.Put (Value, Width => 0);
   end loop;
   Ada.Text_IO.New_Line;
   Ada.Text_IO.Put ("sum ");
   Ada.Long_Long_Integer_Text_IO.Put (Sum, Width => 0);
   Ada.Text_IO.New_Line;
   Ada.Text_IO.Create (File, Ada.Text_IO.Out_File, "sum.txt");
   Ada.Long_Long_Integer_Text_IO.Put (File, Sum, Width => 0);
   Ada.Text_IO.New_Line (File);
   Ada.Text_IO.Close (File);
   Ada.Command_Line.Set_Exit_Status (3);
end Program;
