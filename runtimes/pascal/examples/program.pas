program Sums;
{$mode objfpc}{$H+}
uses
  SysUtils, Classes, Math;

function ByValue(Left, Right: Pointer): Integer;
begin
  Result := CompareValue(PtrInt(Left), PtrInt(Right));
end;

var
  Numbers: TList;
  Number, Sum: Int64;
  Index: Integer;
  Target: Text;
begin
  Numbers := TList.Create;
  Sum := 0;
  while not SeekEof do
  begin
    Read(Number);
    Numbers.Add(Pointer(PtrInt(Number)));
    Sum := Sum + Number;
  end;
  Numbers.Sort(@ByValue);
  for Index := 0 to Numbers.Count - 1 do
  begin
    if Index > 0 then
      Write(' ');
    Write(PtrInt(Numbers[Index]));
  end;
  WriteLn;
  WriteLn('sum ', Sum);
  Assign(Target, 'sum.txt');
  Rewrite(Target);
  WriteLn(Target, Sum);
  Close(Target);
  Numbers.Free;
  Halt(3);
end.
