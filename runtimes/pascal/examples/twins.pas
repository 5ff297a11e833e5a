program Twins;
{$mode objfpc}
uses
  SysUtils, Classes;
var
  Device: TFileStream;
  Bytes: QWord;
begin
  Randomize;
  WriteLn('Random ', Random(MaxInt), ' ', Random(MaxInt));
  Bytes := 0;
  Device := TFileStream.Create('/dev/urandom', fmOpenRead);
  Device.ReadBuffer(Bytes, SizeOf(Bytes));
  WriteLn('/dev/urandom ', Bytes);
  Device.Free;
end.
