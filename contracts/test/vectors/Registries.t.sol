// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Vectors} from "../support/Vectors.sol";
import {vm} from "../support/Vm.sol";
import {World} from "../support/World.sol";

/// @notice The ids that both registries give, for the owners, manifests and names of the vectors.
contract RegistriesVectorsTest is World {
    Vectors private _vectors = new Vectors("adapter_id");
    string private _in;
    string private _out;

    function test_adapter_ids() public {
        uint256 i = 0;
        for (; _case("registered_id", i); ++i) {
            address owner = _vectors.account(string.concat(_in, ".owner"));
            bytes32 manifest = _vectors.word(string.concat(_in, ".manifest_id"));
            _fund(owner);
            vm.prank(owner);
            bytes32 id = models.register(manifest, "base", "artifact", "", new bytes32[](0), new uint32[](0), 0);
            eq("adapter id", id, _vectors.word(_out));
        }
        yes("there are some", i > 1);
    }

    function test_datanet_ids() public {
        uint256 i = 0;
        for (; _case("datanet_id", i); ++i) {
            string memory name = _vectors.text(string.concat(_in, ".name"));
            vm.prank(_vectors.account(string.concat(_in, ".creator")));
            bytes32 id = datanets.create(name, treasury, 0, "", 2);
            eq("Datanet id", id, _vectors.word(_out));
        }
        yes("there are some", i > 1);
    }

    function _case(string memory rule, uint256 i) private returns (bool) {
        string memory at = string.concat(".rules.", rule, "[", vm.toString(i), "]");
        (_in, _out) = (string.concat(at, ".input"), string.concat(at, ".output"));
        return _vectors.has(_in);
    }
}
