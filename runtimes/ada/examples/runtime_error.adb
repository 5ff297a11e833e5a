with Ada.Command_Line;
with Ada.Text_IO;

procedure Runtime_Error is
   Values : array (1 .. 3) of Integer := (others => 0);
   Index  : constant Integer          := Ada.Command_Line.Argument_Count + 4;
begin
   Ada.Text_IO.Put_Line ("before");
   Ada.Text_IO.Flush;
   Values (Index) := 1;
   Ada.Text_IO.Put_Line (Integer'Image (Values (1)));
end Runtime_Error;
