with Ada.Numerics.Float_Random;
with Ada.Numerics.Discrete_Random;
with Ada.Streams.Stream_IO;
with Ada.Text_IO;

procedure Twins is
   type Word is mod 2**32;
   package Words is new Ada.Numerics.Discrete_Random (Word);
   use Ada.Streams;

   Generator : Words.Generator;
   Floats    : Ada.Numerics.Float_Random.Generator;
   File      : Stream_IO.File_Type;
   Bytes     : Stream_Element_Array (1 .. 8);
   Last      : Stream_Element_Offset;
begin
   Words.Reset (Generator);
   Ada.Text_IO.Put_Line ("Discrete_Random" & Words.Random (Generator)'Image & Words.Random (Generator)'Image);
   Ada.Numerics.Float_Random.Reset (Floats);
   Ada.Text_IO.Put_Line
     ("Float_Random" & Ada.Numerics.Float_Random.Random (Floats)'Image & Ada.Numerics.Float_Random.Random (Floats)'Image);
   Stream_IO.Open (File, Stream_IO.In_File, "/dev/urandom");
   Stream_IO.Read (File, Bytes, Last);
   Ada.Text_IO.Put ("/dev/urandom");
   for Byte of Bytes loop
      Ada.Text_IO.Put (Byte'Image);
   end loop;
   Ada.Text_IO.New_Line;
end Twins;
