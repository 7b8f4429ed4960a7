// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {IDatanetRegistry} from "../../src/interfaces/IDatanetRegistry.sol";
import {Adapter, IModelRegistry as I, Permit, Terms} from "../../src/interfaces/IModelRegistry.sol";
import {Values} from "../../src/interfaces/IParams.sol";
import {ClaimRecord} from "../../src/interfaces/Types.sol";
import {vm} from "../support/Vm.sol";
import {World} from "../support/World.sol";

contract RegisterTest is World {
    bytes32 private constant MANIFEST = "new";
    bytes32 private NEW = _adapterId(payer, MANIFEST);

    function _register(bytes32[] memory ids, uint32[] memory weights, uint32 royalty) private {
        vm.prank(payer);
        models.register(MANIFEST, "base", "artifact", "index", ids, weights, royalty);
    }

    function _expected() private view returns (Adapter memory) {
        return Adapter({
            owner: payer,
            royaltyPpm: 7,
            retiredAt: 0,
            bond: BOND,
            baseDigest: "base",
            artifactDigest: "artifact",
            indexRoot: "index",
            datanetIds: _ids(first, second),
            weightsPpm: _weights(1, 999_999)
        });
    }

    function test_an_adapter_is_registered_and_its_bond_taken() public {
        (uint128 before,) = models.totals();
        _emits(address(models));
        emit I.AdapterRegistered(NEW, MANIFEST, payer, _expected());
        _register(_ids(first, second), _weights(1, 999_999), 7);
        eq("row", keccak256(abi.encode(models.adapterOf(NEW))), keccak256(abi.encode(_expected())));
        Terms memory terms = models.termsOf(NEW);
        eq("owner", terms.owner, payer);
        eq("royalty", terms.royaltyPpm, 7);
        eq("datanet", terms.datanetIds[1], second);
        eq("weight", terms.weightsPpm[1], 999_999);
        (uint128 bondsIn, uint128 bondsOut) = models.totals();
        eq("bonds in", bondsIn - before, BOND);
        eq("held", token.balanceOf(address(models)), bondsIn - bondsOut);
    }

    function test_one_datanet_has_all_the_weight() public {
        _register(_ids(second), _weights(1_000_000), 0);
        Terms memory terms = models.termsOf(NEW);
        eq("one", terms.datanetIds.length, 1);
        eq("datanet", terms.datanetIds[0], second);
        eq("weight", terms.weightsPpm[0], 1_000_000);
    }

    function test_zero_is_no_manifest() public {
        _refuses(I.ZeroManifestId.selector);
        models.register(0, "base", "artifact", "index", _none(), new uint32[](0), 0);
    }

    /// @dev F: who could register an id anew would take its royalties and its contributors' pots.
    function test_an_entry_is_immutable() public {
        _register(_none(), new uint32[](0), 7);
        _refuses(I.AdapterExists.selector, abi.encode(NEW));
        _register(_none(), new uint32[](0), 8);
        vm.prank(payer);
        models.retire(NEW);
        _refuses(I.AdapterExists.selector, abi.encode(NEW));
        _register(_none(), new uint32[](0), 8);
    }

    /// @dev F: a thief sees a manifest before its maker has registered it, and names a copy of the Datanet, where half of
    /// the pot is the thief's. The entry is the thief's own, under an id that nobody serves.
    function test_a_thief_who_registers_first_takes_nothing_from_the_maker() public {
        _fund(stranger);
        vm.startPrank(stranger);
        bytes32 copy = datanets.create("a", stranger, 500_000, "", 2);
        bytes32 stolen = models.register(MANIFEST, "base", "artifact", "index", _ids(copy), _weights(1_000_000), 200_000);
        vm.stopPrank();
        yes("another id", stolen != NEW && stolen == _adapterId(stranger, MANIFEST));
        _register(_ids(first), _weights(1_000_000), 7);
        ClaimRecord memory record = _claimed(NEW);
        eq("royalty to the maker", record.credits[0].account, payer);
        eq("rows of the maker's Datanet", record.pots[0].datanetId, first);
    }

    /// @dev F: the whole pot of an adapter without an index goes to the Datanet's treasury, which its owner chose.
    function test_an_adapter_with_datanets_has_an_index() public {
        _refuses(I.NoIndex.selector);
        vm.prank(payer);
        models.register(MANIFEST, "base", "artifact", 0, _ids(first), _weights(1_000_000), 0);
        vm.prank(payer);
        models.register(MANIFEST, "base", "artifact", 0, _none(), new uint32[](0), 0);
    }

    function test_the_royalty_has_a_bound() public {
        _refuses(I.BadRoyalty.selector, abi.encode(200_001, 200_000));
        _register(_none(), new uint32[](0), 200_001);
        _register(_none(), new uint32[](0), 200_000);
    }

    function test_there_are_at_most_8_datanets() public {
        _refuses(I.TooManyDatanets.selector, abi.encode(9, 8));
        _register(new bytes32[](9), new uint32[](9), 0);
    }

    function test_8_datanets_keep_their_weights() public {
        bytes32[] memory ids = new bytes32[](8);
        uint32[] memory weights = new uint32[](8);
        for (uint256 d = 0; d < 8; ++d) ids[d] = datanets.create(vm.toString(d), treasury, 0, "", 2);
        for (uint256 a = 0; a < 8; ++a) {
            for (uint256 b = a + 1; b < 8; ++b) if (ids[b] < ids[a]) (ids[a], ids[b]) = (ids[b], ids[a]);
        }
        for (uint32 d = 0; d < 8; ++d) weights[d] = d < 7 ? 100_000 + d : 300_000 - 21;
        _register(ids, weights, 0);
        Terms memory terms = models.termsOf(NEW);
        for (uint256 d = 0; d < 8; ++d) {
            eq("id", terms.datanetIds[d], ids[d]);
            eq("weight", terms.weightsPpm[d], weights[d]);
        }
    }

    function test_each_datanet_has_a_weight() public {
        _refuses(I.LengthMismatch.selector, abi.encode(2, 1));
        _register(_ids(first, second), _weights(1_000_000), 0);
        _refuses(I.ZeroWeight.selector, abi.encode(second));
        _register(_ids(first, second), _weights(1_000_000, 0), 0);
    }

    function test_datanets_ascend() public {
        _refuses(I.DatanetsNotAscending.selector, abi.encode(first));
        _register(_ids(second, first), _weights(500_000, 500_000), 0);
        _refuses(I.DatanetsNotAscending.selector, abi.encode(first));
        _register(_ids(first, first), _weights(500_000, 500_000), 0);
    }

    function test_weights_sum_to_a_million() public {
        _refuses(I.BadWeights.selector, abi.encode(999_999));
        _register(_ids(first, second), _weights(500_000, 499_999), 0);
        _refuses(I.BadWeights.selector, abi.encode(1_000_001));
        _register(_ids(first, second), _weights(500_000, 500_001), 0);
        _refuses(I.BadWeights.selector, abi.encode(999_999));
        _register(_ids(first), _weights(999_999), 0);
    }

    /// @dev F: contributors come from a Datanet that is there for all to see, not from what the adapter's maker brings.
    function test_an_unknown_datanet_is_refused() public {
        _refuses(IDatanetRegistry.UnknownDatanet.selector, abi.encode(bytes32("mine")));
        _register(_ids("mine"), _weights(1_000_000), 0);
    }

    function test_who_cannot_pay_the_bond_registers_nothing() public {
        _refuses(IERC20Errors.ERC20InsufficientAllowance.selector, abi.encode(models, 0, BOND));
        vm.prank(stranger);
        models.register(MANIFEST, "base", "artifact", "index", _none(), new uint32[](0), 0);
    }

    function test_the_bond_is_what_it_is_on_the_day() public {
        Values memory next = values();
        next.adapterBond = 2 * BOND;
        vm.prank(governor);
        params.set(next);
        vm.warp(block.timestamp + 2 days);
        _register(_none(), new uint32[](0), 0);
        eq("bond", models.adapterOf(NEW).bond, 2 * BOND);
        eq("an older one keeps its own", models.adapterOf(ONE).bond, BOND);
    }

    function test_a_permit_stands_for_the_allowance_even_if_sent_first() public {
        Permit memory permit;
        (permit.v, permit.r, permit.s) = _noAllowanceButPermit(address(models), BOND);
        permit.deadline = _deadline();
        vm.prank(stranger);
        token.permit(payer, address(models), BOND, permit.deadline, permit.v, permit.r, permit.s);
        _registerWith(payer, permit);
        eq("row", keccak256(abi.encode(models.adapterOf(NEW))), keccak256(abi.encode(_expected())));
    }

    function test_a_fresh_permit_is_used() public {
        Permit memory permit;
        (permit.v, permit.r, permit.s) = _noAllowanceButPermit(address(models), BOND);
        permit.deadline = _deadline();
        _registerWith(payer, permit);
        eq("owner", models.adapterOf(NEW).owner, payer);
    }

    function test_anothers_permit_registers_nothing() public {
        Permit memory permit;
        (permit.v, permit.r, permit.s) = _noAllowanceButPermit(address(models), BOND);
        permit.deadline = _deadline();
        _refuses(IERC20Errors.ERC20InsufficientAllowance.selector, abi.encode(models, 0, BOND));
        _registerWith(stranger, permit);
    }

    function test_what_is_not_registered_is_unknown() public {
        _refuses(I.UnknownAdapter.selector, abi.encode(NEW));
        models.adapterOf(NEW);
        _refuses(I.UnknownAdapter.selector, abi.encode(NEW));
        models.termsOf(NEW);
    }

    function _registerWith(address caller, Permit memory permit) private {
        vm.prank(caller);
        models.registerWithPermit(
            MANIFEST, "base", "artifact", "index", _ids(first, second), _weights(1, 999_999), 7, permit
        );
    }
}
