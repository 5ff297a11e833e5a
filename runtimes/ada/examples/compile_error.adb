with Ada.Text_IO;

procedure Compile_Error is
   Answer : Integer := "forty-two";
begin
   Ada.Text_IO.Put_Line (Integer'Image (Answer));
end Compile_Error;
