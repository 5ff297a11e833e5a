program Twins;
{$mode objfpc}
{ One line for each source of chance. Randomize takes the second of the clock, on any machine: whoever starts in the same second draws
  the same. So the generator is seeded by hand. }
uses
  SysUtils, Classes;
var
  Device: TFileStream;
  Bytes: QWord;
begin
  Bytes := 0;
  Device := TFileStream.Create('/dev/urandom', fmOpenRead);
  Device.ReadBuffer(RandSeed, SizeOf(RandSeed));
  WriteLn('Random ', Random(MaxInt), ' ', Random(MaxInt));
  Device.ReadBuffer(Bytes, SizeOf(Bytes));
  WriteLn('/dev/urandom ', Bytes);
  Device.Free;
end.
